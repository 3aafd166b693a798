// SPDX-License-Identifier: MIT
// *FORMAT-OFF*

// Entries of sys.path.
Q(/lib)
