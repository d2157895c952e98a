"""Everything MkDocs needs: generated fragments, browser files, building and serving."""
