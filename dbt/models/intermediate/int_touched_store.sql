-- Stores of new readings and detections.
select store_id
from {{ ref('stg_sensor_readings') }} as reading
where {{ is_new('stg_sensor_readings', 'reading') }}
    {{- ' and false' if refreshes() }}

union

select store_id
from {{ ref('stg_cv_detections') }} as seen
where {{ is_new('stg_cv_detections', 'seen') }}
    {{- ' and false' if refreshes() }}
