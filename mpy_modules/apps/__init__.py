# SPDX-License-Identifier: MIT
"""Programs in the image: `import apps.echo; apps.echo.main()`."""
