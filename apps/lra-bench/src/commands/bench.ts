import { textTable } from '@topk-attention/app-kit';
import {
  type BackendOptions,
  backendCommand,
  type Command,
  type CommandUnknownOpts,
  type Io,
  layerCount,
  note,
  ProgressBar,
  print,
  requireWritable,
  shownPath,
  wholeNumber,
  writeFileAtomically,
} from '@topk-attention/app-kit/node';
import type { Backend } from '@topk-attention/core';
import type { Job } from '../bench/measure.js';
import {
  type BenchResult,
  encodeBench,
  type StudyName,
  studyNames,
  type WayName,
  wayNames,
} from '../bench/result.js';
import { runJobs } from '../bench/run-jobs.js';
import { studyTable } from '../bench/shown.js';
import { paperSizes, type Study, type StudySizes, studies } from '../bench/studies.js';
import type { Host } from '../host.js';
import { calledAs } from './called-as.js';
import { openLastingEngine } from './open-engine.js';
import { listOf, nameIn } from './option-values.js';

const notes = `
The paper's four studies on this stack, with its sizes: one causal attention layer, one feed-forward layer, a model of 12
layers, and exact attention by queries per chunk. report draws the paper's published curves beside ours. The smaller
sizes below are for trying a study out.

Examples:
  pnpm lra bench --study attention --backend webgpu --out attention.json
  pnpm lra bench --study attention --x 256,512 --rounds 1 --backend onnxruntime`;

type BenchOptions = BackendOptions & {
  study: readonly StudyName[];
  x?: readonly number[];
  ways: readonly WayName[];
  rounds: number;
  k?: number;
  tokens?: number;
  layers?: number;
  most: number;
  out?: string;
};

type BenchCommand = Command<[], BenchOptions>;

/** `bench`: time and memory against length. */
export function benchCommand(io: Io, host: Host): CommandUnknownOpts {
  const command: BenchCommand = backendCommand('bench')
    .summary('time and memory: the four studies of the paper')
    .description(
      'Time and memory of attention, feed-forward layers and a whole model, as the paper studied them.',
    )
    .usage('[--study NAME,...] [options]')
    .option(
      '--study <NAME,...>',
      studyNames.join(', '),
      listOf((text) => nameIn(studyNames, text)),
      studyNames,
    )
    .option(
      '--x <N,...>',
      'lengths, hidden units or queries per chunk (default: those of the paper)',
      listOf(wholeNumber),
    )
    .option(
      '--ways <NAME,...>',
      wayNames.join(', '),
      listOf((text) => nameIn(wayNames, text)),
      wayNames,
    )
    .option('--rounds <N>', 'timed passes; the median counts', wholeNumber, 3)
    .option('--k <N>', 'keys or units kept by top-k (default: as in the paper)', wholeNumber)
    .option('--tokens <N>', 'tokens of the feed-forward and query-chunk studies', wholeNumber)
    .option('--layers <N>', 'layers of the model study', layerCount)
    .option('--most <SECONDS>', 'a way stops at the size after which a pass took longer', wholeNumber, 60)
    .option('--out <FILE>', 'write the measurements as JSON, for report --bench')
    .addHelpText('after', notes);
  return command.action(async (options) => benchAll(options, command, io, host));
}

async function benchAll(options: BenchOptions, command: BenchCommand, io: Io, host: Host): Promise<void> {
  const names = studiesOf(options, command);
  if (options.out !== undefined) requireWritable(options.out);
  const bar = new ProgressBar(io.stderr, options.json);
  const engine = await openLastingEngine(host, options, io);
  const { info } = await engine.current();
  const results: BenchResult[] = [];
  const write = (): void => {
    if (options.out !== undefined) writeFileAtomically(options.out, encodeBench(results));
  };
  try {
    for (const name of names) {
      const study = studies[name];
      const { title, about } = study;
      const place = results.length;
      const header = {
        study: name,
        title,
        about: aboutOf(about, options),
        engine: info.description,
        date: new Date().toISOString().slice(0, 10),
        command: calledAs(),
      };
      results.push({ ...header, rows: [] });
      const jobs = jobsOf(study, options);
      await runJobs(engine, jobs, {
        ...{ rounds: options.rounds, most: options.most, signal: io.signal },
        onJob: ({ way, x, direction }, at) =>
          bar.update(at, jobs.length, `${title}: ${way}, ${x}, ${direction}`, true),
        onRow: (made) => {
          results[place] = { ...header, rows: [...made] };
          write();
        },
      });
    }
  } finally {
    bar.clear();
    await engine.dispose();
  }
  if (options.json) {
    print(io, JSON.stringify({ engine: info, results }));
    return;
  }
  for (const result of results) {
    print(io, `${result.title}\n\n${textTable(studyTable(result))}\n`);
    for (const { way, x, direction, refused } of result.rows)
      if (refused !== undefined) note(io, `${way}, ${x}, ${direction}: ${refused}`);
  }
  print(io, info.description);
  if (options.out !== undefined) print(io, `written     ${shownPath(options.out)}`);
}

/** The studies that have one of the ways; wrong use if none has. */
function studiesOf({ study, ways }: BenchOptions, command: BenchCommand): readonly StudyName[] {
  const own = study.filter((name) => studies[name].ways.some((way) => ways.includes(way)));
  if (own.length > 0) return own;
  const known = study.map((name) => `${name} has ${studies[name].ways.join(', ')}`);
  return command.error(`--ways ${ways.join(',')}: nothing to measure. ${known.join('; ')}`);
}

/** From small to large, so that the larger sizes of a way that has become too slow can be left out. */
function jobsOf(study: Study, options: BenchOptions): readonly Job[] {
  const own = study.ways.filter((way) => options.ways.includes(way));
  const sorted = [...(options.x ?? study.xs)].sort((a, b) => a - b);
  const sizes = sizesOf(study.name, options);
  return sorted.flatMap((x) =>
    own.flatMap((way) =>
      study.directions.map((direction) => ({
        ...{ way, x, direction },
        make: (backend: Backend) => study.make(backend, way, x, sizes),
      })),
    ),
  );
}

function sizesOf(name: StudyName, { k, tokens, layers }: BenchOptions): StudySizes {
  const sizes = paperSizes(name);
  return { k: k ?? sizes.k, tokens: tokens ?? sizes.tokens, layers: layers ?? sizes.layers };
}

function aboutOf(about: string, { k, tokens, layers }: BenchOptions): string {
  const changes = Object.entries({ k, tokens, layers }).flatMap(([name, value]) =>
    value === undefined ? [] : [`${name} ${value}`],
  );
  return changes.length === 0 ? about : `${about} Changed: ${changes.join(', ')}.`;
}
