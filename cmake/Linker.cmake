# lld where it is installed (scripts/deps test): the tests are hundreds of programs, each linked whole. Not mold: 1.10
# begins RELRO a byte early where thread-local data ends at a page's border, on a page that is not there, so that the
# loader refuses the program; without RELRO it does not come to an end of some. Which program is struck is a matter
# of the layout, and so of the tree's path. What users run is linked by the system's own linker.
find_program(LLD ld.lld)
if(LLD AND NOT CMAKE_BUILD_TYPE STREQUAL "Release")
  add_link_options(-fuse-ld=lld)
endif()
