import { type ConformanceCase, conformanceCases, type Group, sampleCases } from '@topk-attention/conformance';

interface Cut {
  readonly name: RegExp;
  /** Default: all. */
  readonly engine?: 'webgl';
  readonly reason: string;
}

/**
 * What of the suite is not run on GPUs in software, where every op is a program to start and to compile, so that the
 * suite takes minutes.
 */
export const cutOnSoftwareGpus: readonly Cut[] = [
  {
    name: /^golden (?!.*(nan|infinit|negative-zero|random-bits|relative-position))/,
    engine: 'webgl',
    reason:
      'two minutes: tfjs compiles a program for every shape; the other engines run these, and above the primitives all engines run the same code',
  },
  {
    name: /^golden anchor-1-.*-chunk-[134]\b/,
    reason:
      'a third of the time of all goldens: up to a call of the engine for each query, many times over; longer chunks run',
  },
  {
    name: /^attention: causal calls of any difference of lengths, beyond one tile of keys$/,
    reason:
      'one call at many lengths, by far the longest case of attention; test/conformance/cpu.test.ts has it',
  },
  {
    name: /^hidden keys, by (?!nothing|a mask of pairs)/,
    reason: 'minutes: every way to hide a key ends in the same mask of pairs',
  },
  {
    name: /^trap: (one call in several chunks|one relative table with other windows|feed-forward weights in other roles|the same heads seen as other heads)/,
    reason:
      'a minute: graphs that a backend keeps by the structure of a call, of which this one has none; the other engines run these',
  },
  {
    name: /^linear attention: (hidden keys may hold NaN|a NaN or an infinity reaches)/,
    engine: 'webgl',
    reason:
      'a third of its time: every way to hide a key, forward and backward, over the same ops; the other engines run these',
  },
  {
    name: /^lifecycle: recomputed blocks give the bits of kept ones/,
    reason: 'the longest case by far, of what core does with the calls of a step; the other engines run it',
  },
  {
    name: /^(attention: |(topK|exact)Attention, |exactAttention: |hidden keys|lifecycle: |property: )/,
    engine: 'webgl',
    reason:
      'five minutes of many shapes: as the goldens; primitives, traps with whole calls, and samples of magnitudes, query starts, few queries, gradients and goldens with NaN and infinities run',
  },
];

/**
 * Groups of which the first case of each kind and every n-th after it run. They run whole on the cpu, wasm and tensorflow
 * engines, and above the primitives all engines run the same code. What `special` names is not left out: numbers that
 * GPUs treat in ways of their own. Primitives are what an engine does itself: fewer shapes of each operation run, fewest on
 * WebGL, where a program is compiled for every shape.
 */
const sampled: Readonly<Record<'webgl' | 'webgpu', Readonly<Partial<Record<Group, number>>>>> = {
  webgl: { primitives: 20, goldens: 20, attention: 24, 'feed-forward': 24, gradients: 20, planning: 4 },
  webgpu: { primitives: 3, goldens: 6, attention: 16, 'feed-forward': 16, lifecycle: 6 },
};
const special: Readonly<Record<'webgl' | 'webgpu', RegExp>> = {
  webgl: /^(?!golden ).*(nan|infinit|random-bits)/i,
  webgpu: /^golden .*(nan|infinit|negative-zero|random-bits|tie|relative-position)|NaN|lost device|leaks/,
};

/** What says most of an engine and takes seconds; the rest takes minutes. */
export const quickGroups: ReadonlySet<string> = new Set(['primitives', 'engine traps']);

/** Random trials of a property, of 200 elsewhere. `pnpm fuzz` asks for more. */
export const SOFTWARE_GPU_RUNS: Readonly<Record<'webgl' | 'webgpu', number>> = { webgl: 3, webgpu: 4 };

/** Calls with flat live bytes, of 1,000 elsewhere: the backend counts its bytes, which are compared after every call. */
export const SOFTWARE_GPU_CALLS = 30;

/** The suite without what is cut. */
export async function gpuCases(
  engine: 'webgl' | 'webgpu',
  options: { goldens?: URL } = {},
): Promise<readonly ConformanceCase[]> {
  const cuts = cutOnSoftwareGpus.filter((cut) => cut.engine === undefined || cut.engine === engine);
  const cases = await conformanceCases(options);
  const left = cases.filter(({ name }) => !cuts.some((cut) => cut.name.test(name)));
  const groups = new Set(left.map(({ group }) => group));
  return [...groups].flatMap((group) =>
    sampleCases(
      left.filter((one) => one.group === group),
      sampled[engine][group] ?? 1,
      ({ name }) => special[engine].test(name),
    ),
  );
}
