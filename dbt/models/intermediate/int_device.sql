select
    asset.store_id,
    asset.asset_id,
    asset.asset_class,
    asset.status,
    {{ struct_field('device', 'device_id', 'varchar') }} as device_id,
    {{ struct_field('device', 'metric', 'varchar') }} as metric,
    {{ struct_field('device', 'interval_s', 'bigint') }} as interval_s,
    change.changed_at_utc,
    asset.valid_from_utc,
    asset.valid_to_utc
from {{ ref('dim_asset') }} as asset
inner join {{ ref('stg_assets') }} as change
    on asset.asset_id = change.asset_id
    and asset.version_id = change.event_id
{{ each_element('change.devices', 'device') }}
