import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** Steps of torch on the model of encoder.ts, from equal weights and on equal batches. */
export interface TorchRun {
  /** A model of `torch_training.py`. */
  readonly model: string;
  readonly batch: number;
  readonly tokens: readonly number[];
  /** Timed steps, after those whose losses are compared. */
  readonly steps: number;
  readonly losses: number;
  readonly rate: number;
  /** Default 'cuda'. */
  readonly device?: 'cuda' | 'cpu';
  /** Threads on the CPU. Default: torch's own. */
  readonly threads?: number;
  /** Also top-k attention, composed of torch's matmul, topk, softmax and matmul. Default: only exact attention. */
  readonly k?: number;
  /** Also exact attention in f64, and in f32 from weights a rounding away. Default false. */
  readonly rounding?: boolean;
}

export interface TorchLine {
  /** `f32`, `bf16`, `top-k <k>` in f32, `f64`, or `f32 nudged`: from weights a rounding away. */
  readonly column: string;
  readonly tokens: number;
  readonly ms: number;
  readonly losses: readonly number[];
  /** Torch's version. */
  readonly torch: string;
}

/** What torch measures on this machine, now. Empty, with the reason on stderr, if it is not installed. */
export function torchLines(run: TorchRun): readonly TorchLine[] {
  const script = findScript();
  if (script === undefined) return [];
  const { model, batch, tokens, steps, losses, rate, device = 'cuda', threads = 0, k = 0, rounding } = run;
  const args = [
    script,
    model,
    batch,
    tokens.join(','),
    steps,
    losses,
    rate,
    device,
    threads,
    k,
    rounding ? 1 : 0,
  ];
  const python = process.env.TOPK_PYTHON ?? 'python3';
  const made = spawnSync(python, args.map(String), { encoding: 'utf8', timeout: 480_000 });
  if (made.status !== 0) {
    const reason = made.error?.message ?? made.stderr.trim().split('\n').at(-1);
    console.error(`torch is left out: ${reason} (${python}; TOPK_PYTHON names another)`);
    return [];
  }
  return made.stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
}

/** Beside a bundled bench, or in the repository. */
function findScript(): string | undefined {
  const here = dirname(fileURLToPath(import.meta.url));
  return [here, join(here, '..', '..', '..', 'tooling', 'gpu-machine')]
    .map((folder) => join(folder, 'torch_training.py'))
    .find((file) => existsSync(file));
}

/** Largest relative difference of losses. */
export function apart(a: readonly number[], b: readonly number[]): number {
  return Math.max(...a.map((one, i) => Math.abs(one - (b[i] as number)) / Math.abs(b[i] as number)));
}
