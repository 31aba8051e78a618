"""What the page says, a module per section; `report.page` lists them. Tables and numbers are made elsewhere."""
