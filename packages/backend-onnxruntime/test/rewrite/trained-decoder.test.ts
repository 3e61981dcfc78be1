import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { optional } from '@topk-attention/vitest-preset';
import * as ort from 'onnxruntime-node';
import { expect } from 'vitest';
import type { TensorProto } from '../../src/onnx/messages.js';
import { decodeModel } from '../../src/onnx/read-model.js';
import { encodeModel } from '../../src/onnx/write-model.js';
import { rewriteModel } from '../../src/rewrite/index.js';

// stories260K, a trained model of Llama's type: perplexities of its own text against those of PyTorch in double precision.

const standard = new URL('../../../../tooling/t5-goldens/goldens/stories260K/', import.meta.url);
const folder = process.env.TOPK_STORIES || fileURLToPath(standard);
const graph = new URL('../../../../tooling/onnx-models/graphs/stories260K.onnx', import.meta.url);
const availability = {
  need: 'stories260K',
  available: existsSync(`${folder}/model.safetensors`),
  reason: `${folder} has no model.safetensors: set TOPK_STORIES to a folder that stories260k.py wrote`,
};

interface Manifest {
  readonly ids: readonly number[];
  readonly perplexity: { readonly exact: number; readonly attention: { readonly [k: string]: number } };
}

/** The graph with its weights, which it names as the checkpoint does; those with ^T are turned there. */
function readModel(): Uint8Array {
  const file = readFileSync(`${folder}/model.safetensors`);
  const headerLength = Number(file.readBigUInt64LE(0));
  const header: {
    readonly [name: string]: { readonly shape: readonly number[]; readonly data_offsets: [number, number] };
  } = JSON.parse(file.toString('utf8', 8, 8 + headerLength));
  const model = decodeModel(new Uint8Array(readFileSync(graph)));
  const filled = (tensor: TensorProto): TensorProto => {
    const [name = '', turned] = (tensor.name ?? '').split('^');
    const found = header[name];
    if (found === undefined) return tensor;
    const [from, to] = found.data_offsets;
    const bytes = file.subarray(8 + headerLength + from, 8 + headerLength + to);
    const values = new Float32Array(new Uint8Array(bytes).buffer);
    if (turned === undefined) return { ...tensor, rawData: new Uint8Array(values.buffer) };
    const [rows, columns] = found.shape as [number, number];
    const other = values.map((_, at) => values[(at % rows) * columns + Math.floor(at / rows)] as number);
    return { ...tensor, rawData: new Uint8Array(other.buffer) };
  };
  const whole = model.graph as NonNullable<typeof model.graph>;
  return encodeModel({ ...model, graph: { ...whole, initializer: whole.initializer.map(filled) } });
}

/** exp of the mean negative log-likelihood of each token after those before it. */
async function perplexityOf(model: Uint8Array, ids: readonly number[]): Promise<number> {
  const session = await ort.InferenceSession.create(model, { logSeverityLevel: 3 });
  const tensor = (values: readonly number[]): ort.Tensor =>
    new ort.Tensor('int64', BigInt64Array.from(values, BigInt), [1, values.length]);
  const { output } = await session.run({
    input_ids: tensor(ids),
    attention_mask: tensor(ids.map(() => 1)),
  });
  await session.release();
  const logits = output?.data as Float32Array;
  const width = logits.length / ids.length;
  const losses = ids.slice(1).map((next, at) => {
    const row = logits.subarray(at * width, (at + 1) * width);
    const largest = Math.max(...row);
    const sum = row.reduce((all, one) => all + Math.exp(one - largest), 0);
    return largest + Math.log(sum) - (row[next] as number);
  });
  return Math.exp(losses.reduce((sum, one) => sum + one, 0) / losses.length);
}

optional('perplexities of stories260K against k are those of PyTorch', availability, async () => {
  const { ids, perplexity }: Manifest = JSON.parse(readFileSync(`${folder}/manifest.json`, 'utf8'));
  const original = readModel();
  const ways = [
    { attention: 'exact' as const, expected: perplexity.exact },
    ...Object.entries(perplexity.attention).map(([k, expected]) => ({
      attention: { k: Number(k) },
      expected,
    })),
  ];
  for (const { attention, expected } of ways) {
    const { model, report } = rewriteModel(original, { attention, chunkBytes: 100_000, strict: true });
    expect(report.blocks).toHaveLength(5);
    expect(Math.abs((await perplexityOf(model, ids)) / expected - 1)).toBeLessThan(0.002);
  }
  expect(Math.abs((await perplexityOf(original, ids)) / perplexity.exact - 1)).toBeLessThan(1e-4);
});
