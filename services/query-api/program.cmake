# The dashboard and uPlot go into the binary; in the parts, so that component tests have them, too.
set(uplot ${MILLRACE_HOME}/deps/npm/node_modules/uplot/dist)
if(NOT EXISTS ${uplot}/uPlot.iife.min.js)
  message(FATAL_ERROR "uPlot is not in ${uplot}: run scripts/deps")
endif()
file(GLOB dashboard CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/dashboard/*.html
     ${CMAKE_SOURCE_DIR}/dashboard/*.js ${CMAKE_SOURCE_DIR}/dashboard/*.css
     ${CMAKE_SOURCE_DIR}/dashboard/*.svg)
list(FILTER dashboard EXCLUDE REGEX "/docs\\.[a-z]+$")
millrace_embed(${program}_parts dashboard_files ${dashboard}
               ${uplot}/uPlot.iife.min.js ${uplot}/uPlot.min.css)

# libpq's header only: pg.c loads the library when query.history.postgres is set.
target_include_directories(${program}_parts PRIVATE ${PQ_INCLUDE_DIRS})
