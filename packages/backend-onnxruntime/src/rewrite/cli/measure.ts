import { TopKError } from '@topk-attention/core';
import { importPeer } from '../../runtime/load.js';
import type { OrtArray, OrtModule, OrtTensor } from '../../runtime/ort.js';
import { disableTelemetry } from '../../runtime/telemetry.js';
import type { InputValues } from './inputs.js';

/** A run of a model in a process of its own. */
export interface Measurement {
  /** The quickest of the runs. */
  readonly milliseconds: number;
  /** By how much the process grew beyond the loaded model. */
  readonly peakBytes: number;
  /** The outputs of numbers, by name. */
  readonly outputs: {
    readonly [name: string]: { readonly dims: readonly number[]; readonly values: Float32Array };
  };
}

interface Task {
  readonly model: string;
  readonly inputs: readonly InputValues[];
  readonly runs: number;
}

/** The part of the engine for which a path is needed: weights beside the model are found from there. */
interface PathSession {
  readonly outputNames: readonly string[];
  run(feeds: { readonly [name: string]: OrtTensor }): Promise<{ readonly [name: string]: OrtTensor }>;
}

/** The word on the command line that starts the measuring process. */
export const MEASURE = 'measure-here';

/** Runs a model in another process, so that its memory can be told from that of anything before. */
export async function measure(task: Task, signal: AbortSignal): Promise<Measurement> {
  const { spawn } = await import('node:child_process');
  const { fileURLToPath } = await import('node:url');
  const main = fileURLToPath(new URL('./main.js', import.meta.url));
  const child = spawn(process.execPath, [main, MEASURE], { stdio: ['pipe', 'pipe', 'pipe'], signal });
  const [out, err]: [Buffer[], Buffer[]] = [[], []];
  child.stdout.on('data', (part: Buffer) => out.push(part));
  child.stderr.on('data', (part: Buffer) => err.push(part));
  // A process that ends early closes the pipe; its exit says why.
  child.stdin.on('error', () => {});
  child.stdin.end(JSON.stringify(task));
  const code = await new Promise<number | null>((resolve, reject) => {
    child.on('error', reject);
    child.on('close', resolve);
  });
  if (code !== 0) {
    const got = Buffer.concat(err).toString().trim().split('\n').at(-1) || `exit code ${code}`;
    throw new TopKError('ENGINE_FAILURE', `${task.model} does not run`, { expected: 'outputs', got });
  }
  const bytes = Buffer.concat(out);
  const end = bytes.indexOf('\n');
  const { outputs, ...rest } = JSON.parse(bytes.subarray(0, end).toString()) as Header;
  const values = new Float32Array(new Uint8Array(bytes.subarray(end + 1)).buffer);
  let at = 0;
  const named = outputs.map(({ name, dims, length }) => {
    at += length;
    return [name, { dims, values: values.subarray(at - length, at) }] as const;
  });
  return { ...rest, outputs: Object.fromEntries(named) };
}

interface Header {
  readonly milliseconds: number;
  readonly peakBytes: number;
  readonly outputs: readonly {
    readonly name: string;
    readonly dims: readonly number[];
    readonly length: number;
  }[];
}

/** The measuring process: reads its task from standard input, and writes a line of JSON and the outputs' bytes. */
export async function measureHere(): Promise<void> {
  const parts: Buffer[] = [];
  for await (const part of process.stdin) parts.push(part as Buffer);
  const { model, inputs, runs } = JSON.parse(Buffer.concat(parts).toString()) as Task;
  disableTelemetry();
  const ort = await importPeer('onnxruntime-node');
  const create = ort.InferenceSession.create as unknown as (
    path: string,
    options: object,
  ) => Promise<PathSession>;
  const session = await create.call(ort.InferenceSession, model, {
    enableMemPattern: false,
    logSeverityLevel: 3,
  });
  const feeds = Object.fromEntries(inputs.map((input) => [input.name, tensorOf(ort, input)]));
  const before = process.memoryUsage.rss();
  let milliseconds = Number.POSITIVE_INFINITY;
  let outputs: { readonly [name: string]: OrtTensor } = {};
  for (let run = 0; run < runs; run++) {
    const start = performance.now();
    outputs = await session.run(feeds);
    milliseconds = Math.min(milliseconds, performance.now() - start);
  }
  const peakBytes = Math.max(0, process.resourceUsage().maxRSS * 1024 - before);
  const floats = session.outputNames.flatMap((name) => {
    const { type, dims, data } = outputs[name] as OrtTensor;
    return type === 'float32' ? [{ name, dims, data: data as Float32Array }] : [];
  });
  const header: Header = {
    ...{ milliseconds, peakBytes },
    outputs: floats.map(({ name, dims, data }) => ({ name, dims, length: data.length })),
  };
  process.stdout.write(`${JSON.stringify(header)}\n`);
  for (const { data } of floats)
    process.stdout.write(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
}

function tensorOf(ort: OrtModule, { type, dims, values }: InputValues): OrtTensor {
  const arrays: { readonly [type in InputValues['type']]: () => OrtArray } = {
    float32: () => Float32Array.from(values),
    int64: () => BigInt64Array.from(values, BigInt),
    int32: () => Int32Array.from(values),
    bool: () => Uint8Array.from(values),
  };
  return new ort.Tensor(type, arrays[type](), dims);
}
