# The OpenSSF compiler guide's production flags. e2e/hardening holds the release against them.
include(CheckCCompilerFlag)
check_c_compiler_flag(-fstrict-flex-arrays=3 MILLRACE_HAS_STRICT_FLEX_ARRAYS) # gcc 13 and newer
add_library(millrace_hardening INTERFACE)
target_compile_options(millrace_hardening INTERFACE
  -fstack-protector-strong -fstack-clash-protection -fno-delete-null-pointer-checks
  -fno-strict-overflow -fno-strict-aliasing -ftrivial-auto-var-init=zero
  $<$<BOOL:${MILLRACE_HAS_STRICT_FLEX_ARRAYS}>:-fstrict-flex-arrays=3>
  $<$<STREQUAL:${CMAKE_SYSTEM_PROCESSOR},x86_64>:-fcf-protection=full>
  $<$<STREQUAL:${CMAKE_SYSTEM_PROCESSOR},aarch64>:-mbranch-protection=standard>
  $<$<CONFIG:Release>:-U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=3>)
target_link_options(millrace_hardening INTERFACE
  -pie -Wl,-z,relro -Wl,-z,now -Wl,-z,noexecstack -Wl,-z,nodlopen -Wl,--as-needed
  -Wl,--no-copy-dt-needed-entries)
