"""Sixty short sentences written for this package, half of them about places and things, half about people."""

from __future__ import annotations

CLASS_NAMES = ("places and things", "people")

THINGS = (
    "The old bridge creaks when the wind is strong.",
    "A red kettle stands on the narrow shelf.",
    "Our village has one shop and two wells.",
    "The train to the coast leaves at dawn.",
    "Rain filled the garden pond last night.",
    "This lamp needs a new bulb before winter.",
    "The museum keeps its maps in a dry room.",
    "Snow covers the roof of the small station.",
    "A wooden boat lies upside down near the pier.",
    "The clock in the hall is four minutes slow.",
    "Green paint peels from the kitchen door.",
    "The library closes early on Fridays.",
    "Two parcels were left behind the gate.",
    "The river turns brown after every storm.",
    "An empty bottle rolled under the seat.",
    "The path through the wood is marked in blue.",
    "Fresh bread costs more in the market hall.",
    "The tower can be seen from every street.",
    "A thin layer of ice formed on the lake.",
    "The printer has run out of paper again.",
    "Both windows face the quiet side of the house.",
    "The last bus waits for the evening ferry.",
    "A crack runs across the white ceiling.",
    "The orchard behind the school is for sale.",
    "Warm air rises from the cellar stairs.",
    "The new road cuts the journey in half.",
    "A heavy curtain hides the storage room.",
    "The harbour lights went out at midnight.",
    "Dry leaves block the drain every autumn.",
    "The blue folder holds the signed contract.",
)

PEOPLE = (
    "My sister repairs violins in a tiny workshop.",
    "The doctor asked him to rest for three days.",
    "Nobody told the neighbours about the party.",
    "She learned to swim when she was forty.",
    "Their uncle never forgets a birthday.",
    "He signed the letter with his left hand.",
    "The teacher lost her keys on the way home.",
    "We met the painter at a dinner in spring.",
    "I will call you before the meeting starts.",
    "Her brother plays chess against a machine.",
    "The twins share a bicycle and a tent.",
    "You promised to water the plants this week.",
    "An engineer explained the delay to the crowd.",
    "The baker wakes up long before his children.",
    "They sold the car and moved to the city.",
    "His patient asked for a second opinion.",
    "Our guide knew the name of every bird.",
    "The lawyer read the will in a calm voice.",
    "She pays her rent on the first of the month.",
    "Two students fell asleep during the lecture.",
    "My father hides the spare key in a boot.",
    "The nurse wrote his weight on the chart.",
    "He has not spoken to his cousin since May.",
    "We borrowed a ladder from the farmer.",
    "The singer forgot the words of her own song.",
    "I owe you eleven coins and an apology.",
    "Your aunt sent us a box of ripe plums.",
    "The pilot greeted every passenger by name.",
    "She told the clerk her date of birth twice.",
    "They were married in a garden near the sea.",
)

SENTENCES = (*THINGS, *PEOPLE)
LABELS = (0,) * len(THINGS) + (1,) * len(PEOPLE)
