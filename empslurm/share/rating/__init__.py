"""Rating sheets: what raters judge about a task, forms for each rater, and reading the filled forms.

`criteria` is the one table of what is asked; `subjects` says which tasks are rated and what is known of them; `forms`
writes a page, a CSV and a spreadsheet per rater; `sheets` reads them back. Agreement, means and themes of the ratings
are in `report.paper` and `analysis`.
"""
