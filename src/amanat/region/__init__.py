"""The tools of an operator, an auditor or a witness for where data rests."""
