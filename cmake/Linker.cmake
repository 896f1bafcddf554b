# mold where it is installed (scripts/deps test): the tests are hundreds of programs, each linked whole.
# What users run is linked by the system's own linker.
find_program(MOLD ld.mold)
if(MOLD AND NOT CMAKE_BUILD_TYPE STREQUAL "Release")
  add_link_options(-fuse-ld=mold)
endif()
