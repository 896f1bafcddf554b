# millrace_embed(target symbol file…): the files become `const struct embedded_file symbol[]` with
# `const size_t symbol_count` in the target; see common/core/embedded.h. Entries are FILE or
# FILE=NAME where the served name differs. YAML becomes JSON on the way.
function(millrace_embed target symbol)
  set(output ${CMAKE_CURRENT_BINARY_DIR}/${target}_${symbol}.c)
  set(depends)
  foreach(entry ${ARGN})
    string(REGEX REPLACE "=[^=]*$" "" path ${entry})
    list(APPEND depends ${path})
  endforeach()
  add_custom_command(OUTPUT ${output}
    COMMAND ${PYTHON} ${CMAKE_SOURCE_DIR}/cmake/embed.py ${symbol} ${output} ${ARGN}
    DEPENDS ${depends} ${CMAKE_SOURCE_DIR}/cmake/embed.py VERBATIM)
  target_sources(${target} PRIVATE ${output})
endfunction()
