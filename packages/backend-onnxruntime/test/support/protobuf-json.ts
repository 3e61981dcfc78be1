/** Fields that are numbers in our messages and int64 in onnx.proto, which JSON has as text. */
const integers = new Set(['irVersion', 'version', 'dims', 'dimValue']);

/** A message as protobuf's own mapping to JSON has it: 64 bits as text, bytes in base64, absent lists left out. */
export function jsonOf(value: unknown, name = ''): unknown {
  if (typeof value === 'bigint') return value.toString();
  if (typeof value === 'number') {
    if (integers.has(name)) return value.toString();
    return Number.isFinite(value) ? value : String(value);
  }
  if (value instanceof Uint8Array) return Buffer.from(value).toString('base64');
  if (Array.isArray(value)) return value.map((item) => jsonOf(item, name));
  if (ArrayBuffer.isView(value)) return jsonOf(Array.from(value as Float32Array), name);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .filter(([field, one]) => field !== 'unknownFields' && !(Array.isArray(one) && one.length === 0))
      .map(([field, one]) => [field, jsonOf(one, field)]),
  );
}

/** Fields of onnx.proto that our messages do not name. */
const unnamed = new Set([
  'trainingInfo',
  'configuration',
  'quantizationAnnotation',
  'deviceConfigurations',
  'segment',
]);

export function withoutUnnamed(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withoutUnnamed);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .filter(([field]) => !unnamed.has(field))
      .map(([field, one]) => [field, withoutUnnamed(one)]),
  );
}
