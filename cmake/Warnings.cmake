# One line per flag that is not self-evident. A warning is an error, but not where users build: a
# compiler newer than ours finds new ones (MILLRACE_WERROR=OFF).
add_library(millrace_warnings INTERFACE)
target_compile_options(millrace_warnings INTERFACE
  -Wall -Wextra
  $<$<BOOL:${MILLRACE_WERROR}>:-Werror>
  -Wconversion                  # a silent narrowing is a lost offset
  -Wshadow
  -Wundef
  -Wcast-qual
  -Wformat=2
  -Wimplicit-fallthrough=5      # only the attribute counts, not a comment
  -Wnull-dereference
  -Wduplicated-cond
  -Wlogical-op
  -Wtrampolines                 # nested functions would need an executable stack
  -Wbidi-chars=any              # no invisible reordering of source text
  $<$<COMPILE_LANGUAGE:C>:-Wpedantic -Wstrict-prototypes -Wmissing-prototypes -Wvla>
  $<$<COMPILE_LANGUAGE:C>:-Werror=implicit -Werror=incompatible-pointer-types -Werror=int-conversion>
  -Wno-variadic-macros
  -Wno-missing-field-initializers # a table's row ends where the rest is zero
  # Sanitizers instrument every access, after which this warning sees nulls that are not there.
  $<$<OR:$<BOOL:${MILLRACE_ASAN}>,$<BOOL:${MILLRACE_TSAN}>,$<BOOL:${MILLRACE_COVERAGE}>>:-Wno-null-dereference>)
