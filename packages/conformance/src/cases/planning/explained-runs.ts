import {
  type AttentionOptions,
  type AttentionPlan,
  evaluate,
  exactAttention,
  explain,
  explainFeedForward,
  explainGraphAttention,
  explainLinearAttention,
  explainToeplitzProduct,
  type FeedForwardPlan,
  graphAttention,
  linearAttention,
  type Plan,
  pullback,
  type Tensor,
  tensor,
  toeplitzProduct,
  topKAttention,
  topKFeedForward,
} from '@topk-attention/core';
import type { Backend, ExplainedPass, Facts, FusedOperation } from '@topk-attention/core/backend';
import type { ConformanceCase, ConformanceContext } from '../../harness/case.js';
import { check } from '../../harness/support/assert.js';
import { Random } from '../../harness/support/random.js';

/** What ran, as the backend saw it. */
interface Ran {
  /** Fused operations by name, with what each said of itself and the chunk it ran with. */
  readonly fused: Map<string, { readonly facts: Facts; readonly chunk: number }>;
  /** Calls of a primitive that the composed version uses. */
  products: number;
}

/** An object with some members replaced; all others are the target's, called on it. */
function withMembers<T extends object>(target: T, members: Partial<T>): T {
  return new Proxy(target, {
    get(_, name) {
      if (name in members) return Reflect.get(members, name);
      const value: unknown = Reflect.get(target, name);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}

/**
 * The backend, recording which of its fused operations run and whether products are composed: calls of a primitive that the
 * composed version needs and a fused one does not.
 */
function watched(
  inner: Backend,
  primitive: 'matmul' | 'concat' = 'matmul',
): { readonly backend: Backend; readonly ran: Ran } {
  const ran: Ran = { fused: new Map(), products: 0 };
  const recorded = (name: string, operation: FusedOperation<object, object, object>) => ({
    prepare(...asked: Parameters<typeof operation.prepare>) {
      const prepared = operation.prepare(...asked);
      if ('refusals' in prepared) return prepared;
      const run = (inputs: object, chunk: number): object => {
        ran.fused.set(name, { facts: prepared.describe?.() ?? {}, chunk });
        return prepared.run(inputs, chunk);
      };
      return withMembers(prepared, { run });
    },
  });
  const table = Object.entries(inner.fused ?? {}).flatMap(([name, operation]) =>
    operation === undefined
      ? []
      : [[name, recorded(name, operation as FusedOperation<object, object, object>)] as const],
  );
  const fused: NonNullable<Backend['fused']> = Object.fromEntries(table);
  const counted: Pick<Backend, 'matmul' | 'concat'> = {
    matmul: (...asked) => {
      ran.products += Number(primitive === 'matmul');
      return inner.matmul(...asked);
    },
    concat: (...asked) => {
      ran.products += Number(primitive === 'concat');
      return inner.concat(...asked);
    },
  };
  return { backend: withMembers(inner, { ...counted, ...(inner.fused && { fused }) }), ran };
}

/** Compares one pass with the record and empties it. */
function checkPass(
  what: string,
  name: string,
  explained: Pick<ExplainedPass<unknown>, 'path' | 'paths'> & { readonly chunk: number },
  ran: Ran,
): void {
  const { path, paths, chunk } = explained;
  const names = [...ran.fused.keys()];
  if (path === 'fused') {
    check(names.join() === name, `${what}: explained as fused, but ${names.join() || 'no operation'} ran`);
    check(ran.products === 0, `${what}: explained as fused, but products are composed`);
    const [run] = ran.fused.values();
    const facts = paths.find((one) => one.path === path)?.facts;
    check(
      JSON.stringify(run?.facts) === JSON.stringify(facts),
      `${what}: explained as ${JSON.stringify(facts)}, ran ${JSON.stringify(run?.facts)}`,
    );
    check(run?.chunk === chunk, `${what}: a chunk of ${chunk} explained, one of ${run?.chunk} ran`);
  } else {
    check(names.length === 0, `${what}: explained as composed, but ${names.join()} ran`);
    check(ran.products > 0, `${what}: explained as composed, but no product is`);
    check(
      paths.some((one) => one.path === 'fused' && one.refusals.length > 0),
      `${what}: composed without a reason`,
    );
  }
  ran.fused.clear();
  ran.products = 0;
}

interface Explained {
  readonly path: 'fused' | 'composed';
  readonly paths: ExplainedPass<unknown>['paths'];
  readonly plan: AttentionPlan | FeedForwardPlan | Plan;
  readonly backward?: Omit<Explained, 'backward'>;
}

/** Runs an op and compares it with its explanation, without gradients and with them. */
async function checkRuns(
  name: string,
  of: (training: boolean) => Explained,
  ran: Ran,
  inputs: readonly Tensor[],
  run: (x: Tensor) => Tensor,
): Promise<void> {
  const chunkOf = ({ plan }: Pick<Explained, 'plan'>): number => {
    if ('chunk' in plan) return plan.chunk;
    return 'queryChunk' in plan ? plan.queryChunk : plan.tokenChunk;
  };
  const x = inputs[0] as Tensor;
  const plain = of(false);
  const output = run(x);
  checkPass(name, name, { ...plain, chunk: chunkOf(plain) }, ran);
  const { backward, ...forward } = of(true);
  check(backward !== undefined, `${name}: explained without a backward pass`);
  const pulled = pullback(run, x);
  checkPass(`${name}, training`, name, { ...forward, chunk: chunkOf(forward) }, ran);
  const gradient = pulled.backward(output);
  checkPass(`${name}Backward`, `${name}Backward`, { ...backward, chunk: chunkOf(backward) }, ran);
  await evaluate(output, gradient);
  for (const one of [output, pulled.output, gradient, ...inputs]) one.dispose();
  pulled.dispose();
}

interface Kind {
  readonly k?: number;
  readonly causal?: boolean;
  readonly queryStart?: number;
  readonly mask?: boolean;
  readonly relativeBias?: boolean;
  readonly dropout?: boolean;
}

const kinds: Readonly<Record<string, Kind>> = {
  'top-k': { k: 5 },
  'top-k, causal, a relative bias': { k: 5, causal: true, relativeBias: true },
  'top-k, causal, queries placed, a relative bias': {
    k: 5,
    causal: true,
    queryStart: 3,
    relativeBias: true,
  },
  'top-k, a mask': { k: 3, mask: true },
  exact: {},
  'exact, causal, queries placed': { causal: true, queryStart: 7 },
  'exact, causal, dropout': { causal: true, dropout: true },
};

async function attends({ backend: inner }: ConformanceContext, kind: Kind): Promise<void> {
  const { backend, ran } = watched(inner);
  const [heads, length, dim] = [2, 24, 4];
  const shape = [1, heads, length, dim];
  const random = new Random('explained');
  const up = (dims: number[]): Tensor => tensor(backend, Float32Array.from(random.uniform(dims).data), dims);
  const [q, k, v, table] = [up(shape), up(shape), up(shape), up([8, heads])];
  const maskShape = [1, 1, length, length];
  const flags = Uint8Array.from({ length: length * length }, (_, at) => (at % 3 === 0 ? 0 : 1));
  const mask = tensor(backend, flags, maskShape);
  const { k: kept, causal = false, queryStart } = kind;
  const buckets = { bidirectional: true, maxDistance: 16 };
  const plain = {
    causal,
    ...(queryStart !== undefined && { queryStart }),
    ...(kind.dropout === true && { dropout: { rate: 0.25, seed: 3 } }),
  };
  const options: AttentionOptions = {
    ...plain,
    ...(kind.mask === true && { mask }),
    ...(kind.relativeBias === true && { relativeBias: { table, ...buckets } }),
  };
  const of = (training: boolean): Explained =>
    explain(
      backend,
      { q: shape, k: shape, v: shape },
      {
        ...plain,
        ...(kind.mask === true && { mask: maskShape }),
        ...(kind.relativeBias === true && { relativeBias: { table: table.shape, ...buckets } }),
        ...(kept !== undefined && { k: kept }),
        training,
      },
    );
  await checkRuns('attention', of, ran, [q, k, v, table, mask], (x) =>
    kept === undefined ? exactAttention(x, k, v, options) : topKAttention(x, k, v, { ...options, k: kept }),
  );
}

async function feeds({ backend: inner }: ConformanceContext, gated: boolean, k: number): Promise<void> {
  const { backend, ran } = watched(inner);
  const sizes = { tokens: 6, inputDim: 4, hidden: 16, outputDim: 8 };
  const random = new Random('explained layer');
  const up = (...dims: number[]): Tensor =>
    tensor(backend, Float32Array.from(random.uniform(dims).data), dims);
  const x = up(sizes.tokens, sizes.inputDim);
  const weights = {
    wIn: up(sizes.inputDim, sizes.hidden),
    bIn: up(sizes.hidden),
    ...(gated && { wGate: up(sizes.inputDim, sizes.hidden) }),
    wOut: up(sizes.hidden, sizes.outputDim),
  };
  const of = (training: boolean): Explained =>
    explainFeedForward(backend, { ...sizes, gated, biasIn: true }, { k, training });
  await checkRuns('feedForward', of, ran, [x, ...Object.values(weights)], (one) =>
    topKFeedForward(one, weights, { k }),
  );
}

async function attendsOnGraph({ backend: inner }: ConformanceContext): Promise<void> {
  const { backend, ran } = watched(inner);
  const shape = [1, 2, 12, 4];
  const graph = [1, 1, 12, 3];
  const random = new Random('explained graph');
  const up = (): Tensor => tensor(backend, Float32Array.from(random.uniform(shape).data), shape);
  const [q, k, v] = [up(), up(), up()];
  const edges = tensor(
    backend,
    Int32Array.from({ length: 36 }, (_, at) => (7 * at) % 12),
    graph,
  );
  const of = (training: boolean): Explained =>
    explainGraphAttention(backend, { q: shape, k: shape, v: shape, graph }, { causal: true, training });
  await checkRuns('graphAttention', of, ran, [q, k, v, edges], (x) =>
    graphAttention(x, k, v, edges, { causal: true }),
  );
}

async function attendsLinearly({ backend: inner }: ConformanceContext, causal: boolean): Promise<void> {
  const { backend, ran } = watched(inner);
  const shape = [1, 2, 12, 4];
  const random = new Random('explained features');
  const up = (): Tensor => tensor(backend, Float32Array.from(random.uniform(shape).data, Math.abs), shape);
  const [q, k, v] = [up(), up(), up()];
  const shapes = { queryFeatures: shape, keyFeatures: shape, value: shape };
  const of = (training: boolean): Explained => explainLinearAttention(backend, shapes, { causal, training });
  await checkRuns('linearAttention', of, ran, [q, k, v], (x) => linearAttention(x, k, v, { causal }));
}

async function multipliesByDistances({ backend: inner }: ConformanceContext): Promise<void> {
  const { backend, ran } = watched(inner, 'concat');
  const shapes = { factors: [2, 23], x: [1, 2, 12, 4] };
  const random = new Random('explained distances');
  const up = (shape: number[]): Tensor =>
    tensor(backend, Float32Array.from(random.uniform(shape).data), shape);
  const [x, factors] = [up(shapes.x), up(shapes.factors)];
  const of = (training: boolean): Explained => explainToeplitzProduct(backend, shapes, { training });
  await checkRuns('toeplitzProduct', of, ran, [x, factors], (one) => toeplitzProduct(factors, one));
}

function explained(name: string, run: ConformanceCase['run']): ConformanceCase {
  return { name: `planning: what explain() says is what runs: ${name}`, group: 'planning', run };
}

/** What a backend ran, compared with what `explain()` said. */
export const explainedRunCases: readonly ConformanceCase[] = [
  ...Object.entries(kinds).map(([name, kind]) => explained(name, (context) => attends(context, kind))),
  explained('graph attention', attendsOnGraph),
  explained('linear attention', (context) => attendsLinearly(context, false)),
  explained('linear attention, causal', (context) => attendsLinearly(context, true)),
  explained('Toeplitz product', multipliesByDistances),
  explained('feed-forward', (context) => feeds(context, false, 4)),
  explained('gated feed-forward', (context) => feeds(context, true, 4)),
  explained('feed-forward, all units', (context) => feeds(context, false, 16)),
];
