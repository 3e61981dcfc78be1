import { composedModel } from './onnx-model.js';
import { exactRow, RelativeError } from './oracle.js';
import { importByName, type Ort, type OrtTensor } from './ort.js';

export interface EngineRow {
  readonly length: number;
  readonly k: number;
  readonly headDim: number;
  /** For all queries. */
  readonly ms: number;
  readonly error: number;
  readonly note: string;
}

export interface EngineReport {
  readonly name: string;
  /** Why it was not measured. */
  readonly missing?: string;
  readonly rows: readonly EngineRow[];
}

export interface EngineShape {
  readonly heads: number;
  readonly length: number;
  readonly k: number;
  readonly dim: number;
}

/** Queries per chunk, and how many chunks are timed; the time of all queries is extrapolated from these. */
const CHUNK = 256;
const CHUNKS = 5;

interface Arrays {
  readonly q: Float32Array;
  /** [H, D, L] */
  readonly keys: Float32Array;
  readonly k: Float32Array;
  readonly v: Float32Array;
}

/** One chunk of queries [H, C, D] on an engine. */
interface Runner {
  run(q: Float32Array): Promise<Float32Array>;
  close(): Promise<void>;
}

interface Engine {
  readonly name: string;
  readonly note: string;
  open(shape: EngineShape & { readonly chunk: number }, arrays: Arrays): Promise<Runner>;
}

/** What other engines take for their own matmul, top-k, softmax and gather on WebGPU; not causal. */
export async function measureOthers(shapes: readonly EngineShape[]): Promise<readonly EngineReport[]> {
  const reports: EngineReport[] = [];
  for (const engine of [onnxRuntime, tensorflow]) {
    const rows: EngineRow[] = [];
    let missing: string | undefined;
    for (const shape of shapes) {
      try {
        rows.push(await measure(engine, shape));
      } catch (error) {
        missing = firstLine(error);
        break;
      }
    }
    reports.push({ name: engine.name, rows, ...(missing !== undefined && { missing }) });
  }
  const kernels = await importByName('@huggingface/kernels').then(
    () => 'it is there, but offers no top-k attention',
    firstLine,
  );
  return [...reports, { name: '@huggingface/kernels', missing: kernels, rows: [] }];
}

async function measure(engine: Engine, shape: EngineShape): Promise<EngineRow> {
  const { heads, length, dim, k } = shape;
  const chunk = Math.min(CHUNK, length);
  const arrays = arraysOf(shape);
  const runner = await engine.open({ ...shape, chunk }, arrays);
  try {
    const q = new Float32Array(heads * chunk * dim);
    for (let head = 0; head < heads; head++) {
      const from = head * length * dim;
      q.set(arrays.q.subarray(from, from + chunk * dim), head * chunk * dim);
    }
    const output = await runner.run(q);
    const error = new RelativeError();
    for (const [head, row] of [
      [0, 0],
      [heads - 1, chunk - 1],
    ] as const) {
      const from = head * length * dim;
      const part = (x: Float32Array): Float32Array => x.subarray(from, from + length * dim);
      const own = { k: part(arrays.k), v: part(arrays.v), keys: length, dim, valueDim: dim };
      const at = (head * chunk + row) * dim;
      error.add(output.subarray(at, at + dim), exactRow(own, q.subarray(at, at + dim), length, k).output);
    }
    if (!(error.value < 1e-3)) throw new Error(`wrong result, off by ${error.value.toExponential(1)}`);
    const times: number[] = [];
    for (let round = 0; round < CHUNKS; round++) {
      const start = performance.now();
      await runner.run(q);
      times.push(performance.now() - start);
    }
    times.sort((a, b) => a - b);
    const ms = ((times[CHUNKS >> 1] as number) * length) / chunk;
    return {
      length,
      k,
      headDim: dim,
      ms,
      error: error.value,
      note: `${engine.note}, ${chunk} queries timed`,
    };
  } finally {
    await runner.close();
  }
}

function arraysOf({ heads, length, dim }: EngineShape): Arrays {
  let state = 1;
  const numbers = (): Float32Array =>
    Float32Array.from({ length: heads * length * dim }, () => {
      let sum = 0;
      for (let part = 0; part < 3; part++) {
        state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
        sum += state / 2 ** 31 - 1;
      }
      return sum;
    });
  const [q, k, v] = [numbers(), numbers(), numbers()];
  // The scale is folded into the keys, so that no engine pays for it.
  const keys = new Float32Array(k.length);
  for (let head = 0; head < heads; head++) {
    for (let key = 0; key < length; key++) {
      for (let d = 0; d < dim; d++) {
        keys[(head * dim + d) * length + key] = (k[(head * length + key) * dim + d] as number) * dim ** -0.5;
      }
    }
  }
  return { q, keys, k, v };
}

const onnxRuntime: Engine = {
  name: 'ONNX Runtime, WebGPU provider',
  note: 'not causal; operators it lacks run on the CPU; inputs copied',
  async open({ heads, chunk, length, dim, k }, { keys, v }) {
    const ort = (await importByName('onnxruntime-node', 'backend-onnxruntime')) as { default?: Ort } & Ort;
    const { InferenceSession, Tensor } = ort.default ?? ort;
    const session = await InferenceSession.create(composedModel(heads, chunk, length, dim, k), {
      executionProviders: ['webgpu'],
      logSeverityLevel: 3,
    });
    const fixed = {
      keys: new Tensor('float32', keys, [heads, dim, length]),
      v: new Tensor('float32', v, [heads * length, dim]),
    };
    return {
      run: async (q) => {
        const outputs = await session.run({ q: new Tensor('float32', q, [heads, chunk, dim]), ...fixed });
        return (outputs.out as OrtTensor).data;
      },
      close: () => session.release(),
    };
  },
};

interface TfTensor {
  data(): Promise<Float32Array>;
}

interface Tf {
  setBackend(name: string): Promise<boolean>;
  tensor(data: Float32Array, shape: readonly number[]): TfTensor;
  tidy(body: () => TfTensor): TfTensor;
  dispose(x: unknown): void;
  matMul(a: TfTensor, b: TfTensor): TfTensor;
  topk(x: TfTensor, k: number): { values: TfTensor; indices: TfTensor };
  softmax(x: TfTensor): TfTensor;
  reshape(x: TfTensor, shape: readonly number[]): TfTensor;
  gather(x: TfTensor, indices: TfTensor, axis?: number, batchDims?: number): TfTensor;
}

const tensorflow: Engine = {
  name: 'tfjs, WebGPU backend',
  note: 'not causal; queries copied',
  async open({ heads, chunk, length, dim, k }, arrays) {
    await provideNavigator();
    const tf = (await importByName('@tensorflow/tfjs-core', 'backend-tfjs')) as Tf;
    await importByName('@tensorflow/tfjs-backend-webgpu', 'backend-tfjs');
    if (!(await tf.setBackend('webgpu'))) throw new Error('its backend "webgpu" does not start here');
    const keys = tf.tensor(arrays.keys, [heads, dim, length]);
    const v = tf.tensor(arrays.v, [heads, length, dim]);
    return {
      run: async (q) => {
        const out = tf.tidy(() => {
          const { values, indices } = tf.topk(tf.matMul(tf.tensor(q, [heads, chunk, dim]), keys), k);
          const rows = tf.gather(v, indices, 1, 1);
          const weights = tf.reshape(tf.softmax(values), [heads, chunk, 1, k]);
          return tf.reshape(tf.matMul(weights, rows), [heads, chunk, dim]);
        });
        const data = await out.data();
        tf.dispose(out);
        return data;
      },
      close: async () => tf.dispose([keys, v]),
    };
  },
};

/** tfjs looks for `navigator.gpu` and WebGPU's constants among the globals; Node 20 has none of them. */
async function provideNavigator(): Promise<void> {
  if ((globalThis as { navigator?: { gpu?: unknown } }).navigator?.gpu !== undefined) return;
  const { create, globals } = await import('webgpu');
  Object.assign(globalThis, globals);
  Object.defineProperty(globalThis, 'navigator', { value: { gpu: create([]) }, configurable: true });
}

function firstLine(error: unknown): string {
  return (error instanceof Error ? error.message : String(error)).split('\n')[0]?.slice(0, 300) as string;
}
