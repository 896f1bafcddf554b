target_link_libraries(event-generator_parts PUBLIC PkgConfig::CURL)
