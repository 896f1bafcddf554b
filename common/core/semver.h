/* semver.h - the precedence of versions, as Semantic Versioning 2.0 has it.
 *
 * WHAT     "2.10.0" is above "2.9.1", "2.0.0-rc.1" below "2.0.0"; what follows a '+' does not count.
 *          Numbers are compared digit by digit, so that none is too large.
 * RULES    One thing is wider than the specification, since people's versions are: a minor or patch
 *          number that is left off counts as 0 ("2.1" is "2.1.0"). A leading "v" or zero is no
 *          version.
 * SOURCE   semver.org, 2.0.0, items 2, 9, 10, 11.
 */
#pragma once

#include "core/attributes.h"
#include "core/strview.h"

struct semver {
    struct strview numbers[3]; /* major, minor, patch: digits of the text; "0" when left off */
    struct strview prerelease; /* "rc.1"; len 0: none */
};

/* Borrows from text. False: it is no version. */
MUST_CHECK bool semver_parse(struct strview text, struct semver *ret);
int semver_compare(const struct semver *a, const struct semver *b); /* <0, 0, >0 */
