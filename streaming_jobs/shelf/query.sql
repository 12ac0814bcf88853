-- One row per store and quarter of a second: the store's records as they were read, each as
-- `topic offset arrival_ms payload`, joined by U+001E. Of the sensor readings only the ticks, of the cameras the facings.
-- The shape is fixed: rules are data and never change this query (savepoints depend on it).
WITH records AS (
  SELECT 'sensor-readings' AS topic, record_key, record_offset, arrived_at, payload, taken_at
  FROM sensor_readings
  WHERE payload LIKE '%"kind":"tick"%'
  UNION ALL
  SELECT 'cv-detections', record_key, record_offset, arrived_at, payload, taken_at
  FROM cv_detections
  WHERE payload LIKE '%"zone_kind":"facing"%'
  UNION ALL
  SELECT 'pos-transactions', record_key, record_offset, arrived_at, payload, taken_at
  FROM pos_transactions
  UNION ALL
  SELECT 'inventory', record_key, record_offset, arrived_at, payload, taken_at
  FROM inventory
)
SELECT
  COALESCE(record_key, '') AS store_id,
  ARRAY_JOIN(
    ARRAY_AGG(
      topic
      || ' ' || CAST(record_offset AS STRING)
      || ' ' || CAST(EXTRACT(EPOCH FROM arrived_at) * 1000 + EXTRACT(MILLISECOND FROM arrived_at) AS STRING)
      || ' ' || COALESCE(payload, '')
    ),
    U&'\001E'
  ) AS batch
FROM TABLE(TUMBLE(TABLE records, DESCRIPTOR(taken_at), INTERVAL '0.25' SECOND))
GROUP BY record_key, window_start, window_end
