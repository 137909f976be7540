"""The site: what CLAIMS.md says, as one folder of static HTML that opens from a disk and asks no network. No torch."""

from harness.site.page import write_site

__all__ = ["write_site"]
