"""The values that flow through an audit, and what every room needs: errors, whole files, safe text."""
