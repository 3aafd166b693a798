// SPDX-License-Identifier: MIT
// The port needs no qstrs beyond those found in its sources.
