import type { Writable } from 'node:stream';
import { TopKError } from '@topk-attention/core';
import { halfToNumber } from '@topk-attention/core/reference';
import type * as Ort from 'onnxruntime-node';
import { PEER_RANGE } from '../../runtime/load.js';
import type { OrtArray } from '../../runtime/ort.js';
import { disableTelemetry } from '../../runtime/telemetry.js';
import { elementsOf, emptyElements, type InputValues } from '../inputs.js';
import { peakBytes as peakOfProcess } from './peak-bytes.js';

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
  send(task, child.stdin);
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

/** The first line that the measuring process reads; the elements of the inputs follow. */
interface Head {
  readonly model: string;
  readonly runs: number;
  readonly inputs: readonly (Omit<InputValues, 'values'> & { readonly size: number })[];
}

/**
 * A line of JSON and the elements of the inputs. As JSON, numbers would take the measuring process more memory than many
 * models do.
 */
function send({ model, runs, inputs }: Task, stdin: Writable): void {
  const head: Head = {
    ...{ model, runs },
    inputs: inputs.map(({ values, ...input }) => ({ ...input, size: values.length })),
  };
  stdin.write(`${JSON.stringify(head)}\n`);
  for (const input of inputs) {
    const { buffer, byteOffset, byteLength } = elementsOf(input);
    stdin.write(new Uint8Array(buffer, byteOffset, byteLength));
  }
  stdin.end();
}

/** Reads what `send` writes, elements straight into the arrays of the tensors. */
async function receive(stdin: AsyncIterable<Uint8Array>): Promise<Head & { readonly elements: OrtArray[] }> {
  const line: Uint8Array[] = [];
  let head: Head | undefined;
  let elements: OrtArray[] = [];
  let room: Uint8Array[] = [];
  for await (const part of stdin) {
    let rest = part;
    if (head === undefined) {
      const end = part.indexOf(10);
      line.push(end < 0 ? part : part.subarray(0, end));
      if (end < 0) continue;
      head = JSON.parse(Buffer.concat(line).toString()) as Head;
      elements = head.inputs.map(({ type, size }) => emptyElements(type, size));
      room = elements.map(({ buffer, byteLength }) => new Uint8Array(buffer, 0, byteLength));
      rest = part.subarray(end + 1);
    }
    while (rest.length > 0) {
      const [first, ...others] = room;
      if (first === undefined) throw new TopKError('INVALID_OPTION', 'more elements than the inputs have');
      const count = Math.min(first.length, rest.length);
      first.set(rest.subarray(0, count));
      rest = rest.subarray(count);
      room = count === first.length ? others : [first.subarray(count), ...others];
    }
  }
  if (head === undefined) throw new TopKError('INVALID_OPTION', 'no task was sent');
  return { ...head, elements };
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

/** The measuring process: reads its task from standard input (see `send`), and writes a line of JSON and the outputs' bytes. */
export async function measureHere(): Promise<void> {
  const { model, inputs, runs, elements } = await receive(process.stdin);
  disableTelemetry();
  const { InferenceSession, Tensor } = await import('onnxruntime-node');
  // From its path: weights beside the model are found from there.
  const session = await InferenceSession.create(model, { enableMemPattern: false, logSeverityLevel: 3 });
  const feeds = Object.fromEntries(
    inputs.map(({ name, type, dims }, at) => [name, new Tensor(type, elements[at] as OrtArray, dims)]),
  );
  const before = process.memoryUsage.rss();
  let milliseconds = Number.POSITIVE_INFINITY;
  let outputs: Ort.InferenceSession.ReturnType = {};
  for (let run = 0; run < runs; run++) {
    const start = performance.now();
    outputs = await session.run(feeds);
    milliseconds = Math.min(milliseconds, performance.now() - start);
  }
  const peakBytes = Math.max(0, (await peakOfProcess()) - before);
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
