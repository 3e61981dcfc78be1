import * as ort from 'onnxruntime-node';

export type Feeds = { readonly [name: string]: ort.Tensor };

/** The first output of a model. */
export async function runModel(
  model: Uint8Array,
  feeds: Feeds,
): Promise<{ readonly dims: readonly number[]; readonly data: Float32Array }> {
  const session = await ort.InferenceSession.create(model, { logSeverityLevel: 3 });
  const output = (await session.run(feeds))[session.outputNames[0] as string] as ort.Tensor;
  await session.release();
  return { dims: output.dims, data: output.data as Float32Array };
}

/** The largest difference; infinite where one has a NaN and the other a number. */
export function largestGap(a: Float32Array, b: Float32Array): number {
  if (a.length !== b.length) return Number.POSITIVE_INFINITY;
  let largest = 0;
  for (const [at, one] of a.entries()) {
    const other = b[at] as number;
    if (Number.isNaN(one) && Number.isNaN(other)) continue;
    const gap = Math.abs(one - other);
    largest = gap <= largest ? largest : Number.isNaN(gap) ? Number.POSITIVE_INFINITY : gap;
  }
  return largest;
}

/** Tokens before the input, in models that take the keys and values of a past. */
const PAST = 11;

/** Inputs for the models of onnx-models. Later rows of a batch have padding. */
export function feedsOf(family: string, batch: number, length: number): Feeds {
  const floats = (dims: readonly number[]): ort.Tensor => {
    const size = dims.reduce((product, extent) => product * extent, 1);
    return new ort.Tensor(
      'float32',
      Float32Array.from({ length: size }, (_, at) => Math.sin(at * (at % 7))),
      dims,
    );
  };
  const whole = (width: number, value: (row: number, column: number) => number): ort.Tensor =>
    new ort.Tensor(
      'int64',
      BigInt64Array.from({ length: batch * width }, (_, at) =>
        BigInt(value(Math.floor(at / width), at % width)),
      ),
      [batch, width],
    );
  if (family === 'vit') return { pixel_values: floats([batch, 3, 32, 32]) };
  const past = family.endsWith('with-past') ? PAST : 0;
  const keys = past + length;
  const mask = whole(keys, (row, column) => (column < keys - row * Math.floor(keys / 3) ? 1 : 0));
  if (family === 'block') return { x: floats([batch, length, 32]), mask };
  const states = past === 0 ? [] : [0, 1].flatMap((layer) => [`past.${layer}.key`, `past.${layer}.value`]);
  const heads = family.startsWith('llama') ? 2 : 4;
  return {
    input_ids: whole(length, (row, column) => 1 + ((row * 31 + column * 7) % 90)),
    attention_mask: mask,
    ...Object.fromEntries(states.map((name) => [name, floats([batch, heads, past, 4])])),
  };
}
