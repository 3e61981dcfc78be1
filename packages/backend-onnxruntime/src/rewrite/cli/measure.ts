import { TopKError } from '@topk-attention/core';
import { halfToNumber } from '@topk-attention/core/reference';
import type * as Ort from 'onnxruntime-node';
import { PEER_RANGE } from '../../runtime/load.js';
import { disableTelemetry } from '../../runtime/telemetry.js';
import { type InputValues, tensorOf } from '../inputs.js';

/** Half-precision numbers are held as single ones. */
interface MeasuredOutput {
  readonly type: 'float32' | 'float16';
  readonly dims: readonly number[];
  readonly values: Float32Array;
}

/** A run of a model in a process of its own. */
export interface Measurement {
  /** The quickest of the runs. */
  readonly milliseconds: number;
  /** By how much the process grew beyond the loaded model: in a run, or while it was loaded. */
  readonly peakBytes: number;
  /** The outputs of numbers, by name. */
  readonly outputs: {
    readonly [name: string]: MeasuredOutput;
  };
}

interface Task {
  readonly model: string;
  readonly inputs: readonly InputValues[];
  readonly runs: number;
  /** What to do where the model does not run. */
  readonly fix: string;
}

/** The word on the command line that starts the measuring process. */
export const MEASURE = 'measure-here';

/** Runs a model in another process, so that its memory can be told from that of anything before. */
export async function measure(task: Task, signal: AbortSignal): Promise<Measurement> {
  requireEngine();
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
  const end = await new Promise<number | string | null>((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code, killedBy) => resolve(code ?? killedBy));
  });
  if (end !== 0) {
    const got = Buffer.concat(err).toString().trim().split('\n').at(-1) || `the end of its process, ${end}`;
    throw new TopKError('ENGINE_FAILURE', `${task.model} does not run`, {
      expected: 'outputs',
      got,
      fix: task.fix,
    });
  }
  const bytes = Buffer.concat(out);
  const line = bytes.indexOf('\n');
  const { outputs, ...rest } = JSON.parse(bytes.subarray(0, line).toString()) as Header;
  const values = new Float32Array(new Uint8Array(bytes.subarray(line + 1)).buffer);
  let at = 0;
  const named = outputs.map(({ name, type, dims, length }) => {
    at += length;
    return [name, { type, dims, values: values.subarray(at - length, at) }] as const;
  });
  return { ...rest, outputs: Object.fromEntries(named) };
}

/** `onnxruntime-web` opens no files by their paths. @throws TopKError MISSING_PEER */
function requireEngine(): void {
  try {
    import.meta.resolve('onnxruntime-node');
  } catch (cause) {
    throw new TopKError('MISSING_PEER', 'models are run by onnxruntime-node, which is not installed', {
      expected: `onnxruntime-node ${PEER_RANGE}`,
      fix: `npm install onnxruntime-node@${PEER_RANGE}`,
      cause,
    });
  }
}

interface Header {
  readonly milliseconds: number;
  readonly peakBytes: number;
  readonly outputs: readonly {
    readonly name: string;
    readonly type: MeasuredOutput['type'];
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
  const { InferenceSession, Tensor } = await import('onnxruntime-node');
  // From its path: weights beside the model are found from there.
  const session = await InferenceSession.create(model, { enableMemPattern: false, logSeverityLevel: 3 });
  const feeds = Object.fromEntries(inputs.map((input) => [input.name, tensorOf(Tensor, input)]));
  const before = process.memoryUsage.rss();
  let milliseconds = Number.POSITIVE_INFINITY;
  let outputs: Ort.InferenceSession.ReturnType = {};
  for (let run = 0; run < runs; run++) {
    const start = performance.now();
    outputs = await session.run(feeds);
    milliseconds = Math.min(milliseconds, performance.now() - start);
  }
  const peakBytes = Math.max(0, process.resourceUsage().maxRSS * 1024 - before);
  const floats = session.outputNames.flatMap((name) => floatsOf(name, outputs[name]));
  const header: Header = {
    ...{ milliseconds, peakBytes },
    outputs: floats.map(({ values, ...output }) => ({ ...output, length: values.length })),
  };
  process.stdout.write(`${JSON.stringify(header)}\n`);
  for (const { values } of floats)
    process.stdout.write(new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
}

/** An output in a list; an empty one for element types without fractions. */
function floatsOf(
  name: string,
  output: Ort.OnnxValue | undefined,
): readonly (MeasuredOutput & { readonly name: string })[] {
  if (output?.type !== 'float32' && output?.type !== 'float16') return [];
  const { type, dims } = output;
  // Half-precision numbers come as bits, or as numbers where the language has numbers of that size.
  const data = output.data as Float32Array | Uint16Array;
  const isBits = data instanceof Uint16Array;
  return [
    { name, type, dims, values: isBits ? Float32Array.from(data, halfToNumber) : Float32Array.from(data) },
  ];
}
