# SPDX-License-Identifier: MIT
"""What a socket is here: the class behind `import socket`, its types, options, views and files."""
