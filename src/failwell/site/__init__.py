"""Everything MkDocs needs: generated fragments, browser files, building and serving."""

from failwell.site.builder import SiteError, build, serve

__all__ = ["SiteError", "build", "serve"]
