# A room is a folder of common/ and one static library common_<room>. What a room may use is said
# where it is declared; tests/lint/check_layers.py holds the includes against the same table.
function(millrace_room name)
  cmake_parse_arguments(ROOM "" "" "USES;LIBS" ${ARGN})
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/${name}/*.c
       ${CMAKE_CURRENT_SOURCE_DIR}/${name}/*.cc)
  if(NOT sources)
    return()
  endif()
  add_library(common_${name} STATIC ${sources})
  target_include_directories(common_${name} PUBLIC ${CMAKE_SOURCE_DIR}/common)
  list(TRANSFORM ROOM_USES PREPEND common_)
  target_link_libraries(common_${name} PUBLIC ${ROOM_USES} ${ROOM_LIBS} millrace_sanitizers
                        PRIVATE millrace_warnings millrace_hardening)
endfunction()

# Every folder below DIR that holds a main.c is a program of that folder's name. A folder may add
# resources to embed and the like in a program.cmake of its own, with ${program} as the target.
function(millrace_programs dir)
  file(GLOB mains CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/${dir}/*/main.c)
  foreach(main ${mains})
    get_filename_component(folder ${main} DIRECTORY)
    get_filename_component(program ${folder} NAME)
    file(GLOB sources CONFIGURE_DEPENDS ${folder}/*.c)
    list(REMOVE_ITEM sources ${main})
    # All but main.c is a library too, so that component tests run a service in their process, with what it
    # says of itself.
    if(sources)
      add_library(${program}_parts STATIC ${sources})
      target_include_directories(${program}_parts PUBLIC ${folder})
      target_link_libraries(${program}_parts PUBLIC common_service
                            PRIVATE millrace_warnings millrace_hardening)
      set(described ${program}_parts)
    else()
      add_library(${program}_parts INTERFACE)
      target_link_libraries(${program}_parts INTERFACE common_service)
      set(described ${program})
    endif()
    add_executable(${program} ${main})
    target_link_libraries(${program} PRIVATE ${program}_parts millrace_warnings millrace_hardening)
    if(EXISTS ${CMAKE_SOURCE_DIR}/openapi/${program}.yaml)
      millrace_embed(${described} openapi_files ${CMAKE_SOURCE_DIR}/openapi/${program}.yaml)
    endif()
    if(EXISTS ${folder}/program.cmake)
      include(${folder}/program.cmake)
    endif()
  endforeach()
endfunction()
