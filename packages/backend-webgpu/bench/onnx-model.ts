/** Just enough of onnx.proto to write one small graph: the wire format is field number and type, then the bytes. */
type Field = readonly [number, number | string | Uint8Array];

function varint(value: number): number[] {
  const bytes: number[] = [];
  let rest = value;
  do {
    const low = rest % 128;
    rest = Math.floor(rest / 128);
    bytes.push(rest > 0 ? low + 128 : low);
  } while (rest > 0);
  return bytes;
}

function message(...fields: readonly Field[]): Uint8Array {
  const bytes: number[] = [];
  for (const [field, value] of fields) {
    if (typeof value === 'number') bytes.push(...varint(field * 8), ...varint(value));
    else {
      const data = typeof value === 'string' ? new TextEncoder().encode(value) : value;
      bytes.push(...varint(field * 8 + 2), ...varint(data.length), ...data);
    }
  }
  return Uint8Array.from(bytes);
}

const FLOAT = 1;
const INT64 = 7;
const FLOAT16 = 10;

function node(op: string, inputs: readonly string[], outputs: readonly string[], axis?: number): Uint8Array {
  const attribute = (name: string, value: number): Field => [5, message([1, name], [3, value], [20, 2])];
  return message(
    ...inputs.map((name): Field => [1, name]),
    ...outputs.map((name): Field => [2, name]),
    [4, op],
    ...(axis === undefined ? [] : [attribute('axis', axis)]),
  );
}

function valueInfo(name: string, shape: readonly number[], type = FLOAT): Uint8Array {
  const dims = message(...shape.map((size): Field => [1, message([1, size])]));
  return message([1, name], [2, message([1, message([1, type], [2, dims])])]);
}

function integers(name: string, values: readonly number[], shape: readonly number[]): Uint8Array {
  const raw = new Uint8Array(BigInt64Array.from(values, BigInt).buffer);
  return message(...shape.map((size): Field => [1, size]), [2, INT64], [8, name], [9, raw]);
}

/**
 * matmul, top-k, softmax, gather and weighted sum for a chunk of queries: q [H, C, D], transposed keys [H, D, L],
 * values [H * L, D] -> [H, C, D]. No mask.
 */
export function composedModel(
  heads: number,
  chunk: number,
  length: number,
  dim: number,
  k: number,
): Uint8Array {
  const firsts = Array.from({ length: heads }, (_, head) => head * length);
  const graph = message(
    [1, node('MatMul', ['q', 'keys'], ['scores'])],
    [1, node('TopK', ['scores', 'k'], ['values', 'indices'], 2)],
    [1, node('Softmax', ['values'], ['weights'], 2)],
    [1, node('Add', ['indices', 'firsts'], ['flat'])],
    [1, node('Gather', ['v', 'flat'], ['rows'], 0)],
    [1, node('Reshape', ['weights', 'weightShape'], ['weights4'])],
    [1, node('MatMul', ['weights4', 'rows'], ['sums'])],
    [1, node('Reshape', ['sums', 'outShape'], ['out'])],
    [2, 'composed'],
    [5, integers('k', [k], [1])],
    [5, integers('firsts', firsts, [heads, 1, 1])],
    [5, integers('weightShape', [heads, chunk, 1, k], [4])],
    [5, integers('outShape', [heads, chunk, dim], [3])],
    [11, valueInfo('q', [heads, chunk, dim])],
    [11, valueInfo('keys', [heads, dim, length])],
    [11, valueInfo('v', [heads * length, dim])],
    [12, valueInfo('out', [heads, chunk, dim])],
  );
  return message([1, 8], [7, graph], [8, message([1, ''], [2, 17])]);
}

/**
 * The fused attention of ONNX Runtime, `nodes` times in a row, each on the output of the one before: query, key, value
 * [1, L, H * D] -> out [1, L, H * D].
 */
export function attentionModel(shape: {
  readonly nodes: number;
  readonly heads: number;
  readonly length: number;
  readonly dim: number;
  readonly dtype: 'f32' | 'f16';
  readonly causal: boolean;
}): Uint8Array {
  const { nodes, heads, length, dim, dtype, causal } = shape;
  const integer = (name: string, value: number): Field => [5, message([1, name], [3, value], [20, 2])];
  const nameOf = (index: number): string => (index === 0 ? 'query' : index === nodes ? 'out' : `out${index}`);
  const attention = (index: number): Field => [
    1,
    message(
      ...[nameOf(index), 'key', 'value'].map((name): Field => [1, name]),
      [2, nameOf(index + 1)],
      [4, 'MultiHeadAttention'],
      integer('num_heads', heads),
      integer('unidirectional', causal ? 1 : 0),
      [7, 'com.microsoft'],
    ),
  ];
  const type = dtype === 'f32' ? FLOAT : FLOAT16;
  const hidden = [1, length, heads * dim];
  const graph = message(
    ...Array.from({ length: nodes }, (_, index) => attention(index)),
    [2, 'attention'],
    ...['query', 'key', 'value'].map((name): Field => [11, valueInfo(name, hidden, type)]),
    [12, valueInfo('out', hidden, type)],
  );
  return message(
    [1, 8],
    [7, graph],
    [8, message([1, ''], [2, 17])],
    [8, message([1, 'com.microsoft'], [2, 1])],
  );
}
