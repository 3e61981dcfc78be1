import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { goldensFolder } from '@topk-attention/t5-goldens';
import { afterAll } from 'vitest';

/** The command line as built: what users run. */
export const cliPath: string = fileURLToPath(new URL('../dist/cli.js', import.meta.url));
if (!existsSync(cliPath))
  throw new Error(`${cliPath} is not there: these tests run what \`pnpm build\` makes`);

export interface Outcome {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunOptions {
  /** Written to a pipe that is then closed. Default: no standard input at all. */
  readonly stdin?: string | Uint8Array;
  /** A pipe into which nothing ever comes. */
  readonly keepsStdinOpen?: boolean;
  readonly env?: { readonly [name: string]: string };
  readonly cwd?: string;
}

/** Starts the command line in a real process. */
export function startCli(
  args: readonly string[],
  { stdin, keepsStdinOpen = false, env, cwd }: RunOptions = {},
): ChildProcess {
  const child = spawn(process.execPath, [cliPath, ...args], {
    stdio: [stdin === undefined && !keepsStdinOpen ? 'ignore' : 'pipe', 'pipe', 'pipe'],
    env: { ...process.env, ...env },
    ...(cwd !== undefined && { cwd }),
  });
  if (stdin !== undefined) child.stdin?.on('error', () => {}).end(stdin);
  return child;
}

/** The line of a progress bar without a terminal: a run that takes half a minute, as on a busy machine, has one. */
export const PROGRESS = /^\d+\/\d+ .*\n/gm;

/** Waits for the end of a process and gathers what it wrote, lines of progress left out. */
export async function outcomeOf(child: ChildProcess): Promise<Outcome> {
  let stdout = '';
  let stderr = '';
  child.stdout?.setEncoding('utf8').on('data', (text: string) => (stdout += text));
  child.stderr?.setEncoding('utf8').on('data', (text: string) => (stderr += text));
  const [code] = (await once(child, 'close')) as [number | null];
  return { code, stdout, stderr: stderr.replace(PROGRESS, '') };
}

export async function runCli(args: readonly string[], options?: RunOptions): Promise<Outcome> {
  return outcomeOf(startCli(args, options));
}

/** The one JSON object on standard output; anything else there fails. */
export function jsonOf<T>(outcome: Outcome): T {
  return JSON.parse(outcome.stdout) as T;
}

/** What every command prints with `--json` when it fails. */
export interface JsonError {
  readonly error: { readonly code: string; readonly message: string; readonly fix?: string };
}

/** A folder that is removed after the tests of the file. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'qa-demo-'));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** A file of that folder. */
export function writeIn(folder: string, name: string, content: string | Uint8Array): string {
  const path = join(folder, name);
  writeFileSync(path, content);
  return path;
}

const goldenModel = join(goldensFolder, 't5-v1_0');
const VOCABULARY = 128;

/** A small T5 with random weights, with a tokenizer of single characters: answers nonsense, always the same. */
export function smallModel(parent: string, config: { readonly [key: string]: unknown } = {}): string {
  const folder = join(parent, `model-${Object.keys(config).join('-')}`);
  mkdirSync(folder);
  for (const name of ['config.json', 'model.safetensors'])
    copyFileSync(join(goldenModel, name), join(folder, name));
  if (Object.keys(config).length > 0) {
    const own = JSON.parse(readFileSync(join(goldenModel, 'config.json'), 'utf8'));
    writeFileSync(join(folder, 'config.json'), JSON.stringify({ ...own, ...config }));
  }
  writeFileSync(join(folder, 'tokenizer.json'), JSON.stringify(characterTokenizer()));
  return folder;
}

function characterTokenizer(): object {
  const pieces = ['▁', ...Array.from({ length: 94 }, (_, at) => String.fromCharCode(33 + at))];
  // The vocabulary is filled up with letters that no text here holds, so that a character is a token.
  const unused = Array.from({ length: 40 }, (_, at) => String.fromCharCode(0x3b1 + at));
  const vocabulary = [...pieces, ...unused].slice(0, VOCABULARY - 3).map((piece) => [piece, -1]);
  const space = { type: 'Metaspace', replacement: '▁', prepend_scheme: 'always', split: true };
  const specials = ['<pad>', '</s>', '<unk>'];
  return {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: specials.map((content, id) => ({
      id,
      content,
      single_word: false,
      lstrip: false,
      rstrip: false,
      normalized: false,
      special: true,
    })),
    normalizer: { type: 'Lowercase' },
    pre_tokenizer: space,
    post_processor: {
      type: 'TemplateProcessing',
      single: [{ Sequence: { id: 'A', type_id: 0 } }, { SpecialToken: { id: '</s>', type_id: 0 } }],
      pair: [{ Sequence: { id: 'A', type_id: 0 } }, { Sequence: { id: 'B', type_id: 0 } }],
      special_tokens: { '</s>': { id: '</s>', ids: [1], tokens: ['</s>'] } },
    },
    decoder: space,
    model: {
      type: 'Unigram',
      unk_id: 2,
      vocab: [...specials.map((each) => [each, 0]), ...vocabulary],
      byte_fallback: false,
    },
  };
}

/** Environment in which the packages of some engines cannot be imported, in a process and its children. */
export function without(
  folder: string,
  ...packages: readonly ('webgpu' | 'onnxruntime' | '@tensorflow/tfjs-backend')[]
): { readonly NODE_OPTIONS: string } {
  const hooks = `export async function resolve(specifier, context, next) {
  if (/^(${packages.join('|').replace('/', '\\/')})(-|$)/.test(specifier)) throw new Error('Cannot find package ' + specifier);
  return next(specifier, context);
}`;
  const path = writeIn(
    folder,
    `hide-${packages.join('-').replace('/', '-')}.mjs`,
    `import { register } from 'node:module';\nregister('data:text/javascript,' + encodeURIComponent(${JSON.stringify(hooks)}));\n`,
  );
  return importing(path);
}

/** Environment in which every process runs a module first, after those that it runs anyway. */
export function importing(path: string): { readonly NODE_OPTIONS: string } {
  return { NODE_OPTIONS: `${process.env.NODE_OPTIONS ?? ''} --import=${pathToFileURL(path).href}`.trim() };
}

/** Tells when a command, and then its child, handle SIGINT: before, it would simply end them. */
export function signalListeners(folder: string): {
  readonly env: { readonly NODE_OPTIONS: string };
  /** Waits until that many processes do. */
  readonly listening: (processes: number) => Promise<void>;
} {
  const log = writeIn(folder, `listeners-${Math.random()}.txt`, '');
  const code = `import { appendFileSync } from 'node:fs';
process.on('newListener', (name) => {
  if (name === 'SIGINT') setImmediate(() => appendFileSync(${JSON.stringify(log)}, '.'));
});`;
  const module = writeIn(folder, `listeners-${Math.random()}.mjs`, code);
  return {
    env: importing(module),
    async listening(processes) {
      while (readFileSync(log, 'utf8').length < processes)
        await new Promise((resolve) => setTimeout(resolve, 20));
    },
  };
}
