-- What each role may do here. The right to read the view is granted with the view, in the mapping.

grant usage on schema cdc_bridge to cdc_bridge, cdc_bridge_reader;

grant select on cdc_bridge.schema_version, cdc_bridge.change, cdc_bridge.endpoint, cdc_bridge.delivery to cdc_bridge;
grant insert, update on cdc_bridge.endpoint, cdc_bridge.delivery to cdc_bridge;

grant select on cdc_bridge.schema_version, cdc_bridge.change, cdc_bridge.endpoint, cdc_bridge.delivery to cdc_bridge_reader;
