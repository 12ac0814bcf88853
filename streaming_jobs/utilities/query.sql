-- One row per store and quarter of a second: the store's readings of meters and its devices' heartbeats, and its ticks,
-- in log order, each as `topic offset arrival_ms payload`, joined by U+001E.
-- The shape is fixed: rules are data and never change this query (savepoints depend on it).
SELECT
  COALESCE(record_key, '') AS store_id,
  ARRAY_JOIN(
    ARRAY_AGG(
      'sensor-readings ' || CAST(record_offset AS STRING)
      || ' ' || CAST(EXTRACT(EPOCH FROM arrived_at) * 1000 + EXTRACT(MILLISECOND FROM arrived_at) AS STRING)
      || ' ' || COALESCE(payload, '')
    ),
    U&'\001E'
  ) AS batch
FROM TABLE(TUMBLE(TABLE sensor_readings, DESCRIPTOR(taken_at), INTERVAL '0.25' SECOND))
WHERE payload LIKE '%"kind":"tick"%'
  OR payload LIKE '%"metric":"power"%'
  OR payload LIKE '%"metric":"energy"%'
  OR payload LIKE '%"metric":"water"%'
  OR payload LIKE '%"metric":"heartbeat"%'
GROUP BY record_key, window_start, window_end
