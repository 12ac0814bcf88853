-- One row per store and 0.35 s: the store's records in log order, each as `[offset,arrival_ms,payload]`,
-- joined by U+001E, so that one call of the engine decides many.
-- The shape is fixed: rules are data and never change this query (savepoints depend on it).
SELECT
  COALESCE(record_key, '') AS store_id,
  ARRAY_JOIN(
    ARRAY_AGG(
      CONCAT(
        '[', CAST(record_offset AS STRING),
        ',', CAST(EXTRACT(EPOCH FROM arrived_at) * 1000 + EXTRACT(MILLISECOND FROM arrived_at) AS STRING),
        ',', COALESCE(payload, ''), ']'
      )
    ),
    U&'\001E'
  ) AS batch
FROM TABLE(TUMBLE(TABLE sensor_readings, DESCRIPTOR(taken_at), INTERVAL '0.35' SECOND))
GROUP BY record_key, window_start, window_end
