/* spec.h - reading a pipeline file with every mistake told. Private to this room.
 *
 * WHAT     a spec is a value of the file and the way to it. The spec_get_* functions read a member
 *          of an object; a mistake is added to the loader's errors with file, JSON Pointer and
 *          reason, and the reader goes on with a value that can be worked with, so that one run
 *          finds all mistakes. Whether there were any is asked once, at the end.
 * OWNS     nothing: it borrows the tree; parents must outlive children (they live on the stack).
 */
#pragma once

#include <jansson.h>
#include <stdint.h>

#include "core/attributes.h"
#include "stream/pipeline.h"

struct spec_loader {
    const char *path; /* of the file, for messages and for files beside it */
    struct pipeline_errors *errors;
    enum err first; /* code of the first error */
};

struct spec {
    struct spec_loader *loader;
    const json_t *value; /* NULL: absent */
    const struct spec *parent;
    const char *member; /* in the parent; NULL: an element of an array … */
    size_t index;       /* … at this place */
};

PRINTF_LIKE(3, 4) void spec_error(const struct spec *at, enum err err, const char *format, ...);
/* Adds what a callee said about `at`. */
void spec_error_info(const struct spec *at, enum err err, const struct err_info *info);
/* JSON Pointer to the value, cut to fit. */
void spec_pointer(const struct spec *spec, char out[ERR_INFO_POINTER_BYTES]);

/* Whether it is an object with no members but these (`names` ends with NULL). A
 * "description" is allowed everywhere. */
bool spec_is_object(const struct spec *spec, const char *const *names);
/* The member; value NULL when absent. */
struct spec spec_member(const struct spec *object, const char *name);
struct spec spec_element(const struct spec *array, size_t index);
/* A member that must be there; says so when it is not. */
bool spec_has(const struct spec *object, const char *name, struct spec *ret);
/* Only key of an object of one member, not counting "description"; NULL and an error otherwise. */
const char *spec_only_member(const struct spec *object, struct spec *ret);

/* fallback NULL / negative: the member is needed. On a mistake: "" / 0 / false / the first choice. */
const char *spec_get_text(const struct spec *object, const char *name, const char *fallback);
int64_t spec_get_duration(const struct spec *object, const char *name, int64_t fallback_ms);
/* The value itself as a duration; 0 and an error when it is none. */
int64_t spec_duration(const struct spec *spec);
int64_t spec_get_count(const struct spec *object, const char *name, int64_t fallback, int64_t max);
/* fallback: index among choices (ended by NULL), negative: needed. */
int spec_get_choice(const struct spec *object, const char *name, const char *const *choices,
                    int fallback);
/* The value itself as text among choices; -1 and an error (with the nearest) when it is not. */
int spec_choice(const struct spec *spec, const char *const *choices);
/* Where a file lies that the member names: a relative one beside the pipeline's. False: too long. */
#define SPEC_PATH_BYTES 4096
bool spec_file_path(const struct spec *file, char out[SPEC_PATH_BYTES]);
/* " (did you mean \"x\"?)" or "". */
#define SPEC_HINT_BYTES 96
const char *spec_hint(const char *word, const char *const *choices, char out[SPEC_HINT_BYTES]);
