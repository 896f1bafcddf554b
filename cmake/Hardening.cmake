# The OpenSSF compiler guide's production flags that gcc 12 knows.
add_library(millrace_hardening INTERFACE)
target_compile_options(millrace_hardening INTERFACE
  -fstack-protector-strong -fstack-clash-protection -fno-delete-null-pointer-checks
  -fno-strict-overflow -fno-strict-aliasing -ftrivial-auto-var-init=zero
  $<$<STREQUAL:${CMAKE_SYSTEM_PROCESSOR},x86_64>:-fcf-protection=full>
  $<$<CONFIG:Release>:-U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=3>)
target_link_options(millrace_hardening INTERFACE
  -pie -Wl,-z,relro -Wl,-z,now -Wl,-z,noexecstack -Wl,-z,nodlopen -Wl,--as-needed)
