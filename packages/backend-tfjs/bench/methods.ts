import { composedBackward, composedForward } from './composed.js';
import { denseBackward, denseForward, denseGrads } from './dense.js';
import type { Tf } from './engines.js';
import type { Method, Outputs } from './method.js';
import { exactBackward, ownBackward, ownForward } from './own.js';
import type { Inputs, Setup, Tile } from './setup.js';

const scoreBytes = ({ length }: Setup, { heads, queries }: Tile): number => 4 * heads * queries * length;
const gatheredBytes = ({ k, dim }: Setup, { heads, queries }: Tile): number => 4 * heads * queries * k * dim;

const onTf = (run: (tf: Tf, inputs: Inputs, tile: Tile) => Outputs): Method['open'] => {
  return async ({ tf }) => ({ run: (inputs, tile) => run(tf, inputs, tile), close: () => {} });
};

/** The build of tfjs-core that Node takes registers no gradients, and wasm has no gradient of gather. */
const needsGradients = (tf: Tf): string | undefined => {
  const kernels = ['BatchMatMul', 'Softmax', 'GatherV2'];
  const missing = kernels.filter((kernel) => tf.getGradient(kernel) === undefined);
  return missing.length === 0 ? undefined : `tf registers no gradient of ${missing.join(', ')}`;
};

const needsSegmentSum = (tf: Tf): string | undefined =>
  tf.getBackend() === 'wasm' ? 'the engine has no UnsortedSegmentSum' : needsGradients(tf);

export const methods: readonly Method[] = [
  {
    pass: 'forward',
    name: 'dense',
    describe: 'softmax(q k^T) v in tiles of queries',
    usesK: false,
    byHead: true,
    largestBytes: scoreBytes,
    open: onTf(denseForward),
  },
  {
    pass: 'forward',
    name: 'composed',
    describe: 'matMul, topk, softmax, gather, matMul in tiles of queries',
    usesK: true,
    byHead: true,
    largestBytes: (setup, tile) => Math.max(scoreBytes(setup, tile), gatheredBytes(setup, tile)),
    open: onTf(composedForward),
  },
  {
    pass: 'forward',
    name: 'exact',
    describe: 'exactAttention of this package',
    usesK: false,
    byHead: false,
    largestBytes: scoreBytes,
    open: ownForward('all'),
  },
  {
    pass: 'forward',
    name: 'top-k',
    describe: 'topKAttention of this package',
    usesK: true,
    byHead: false,
    largestBytes: scoreBytes,
    open: ownForward('kept'),
  },
  {
    pass: 'backward',
    name: 'dense',
    describe: 'written by hand: scores and softmax again, then four products, in tiles of queries',
    usesK: false,
    byHead: true,
    largestBytes: scoreBytes,
    open: onTf(denseBackward),
  },
  {
    pass: 'backward',
    name: 'dense, tf.grads',
    describe: 'tf.grads of softmax(q k^T) v in tiles of queries',
    usesK: false,
    byHead: true,
    largestBytes: scoreBytes,
    refuses: needsGradients,
    open: onTf(denseGrads),
  },
  {
    pass: 'backward',
    name: 'composed',
    describe: 'tf.grads of gather, product, softmax, gather, product for the kept keys, in tiles of queries',
    usesK: true,
    byHead: true,
    largestBytes: gatheredBytes,
    refuses: needsSegmentSum,
    open: onTf(composedBackward),
  },
  {
    pass: 'backward',
    name: 'exact',
    describe: 'attentionBackward of this package over all keys',
    usesK: false,
    byHead: false,
    largestBytes: (setup, tile) => 4 * scoreBytes(setup, tile),
    open: exactBackward,
  },
  {
    pass: 'backward',
    name: 'top-k',
    describe: 'attentionBackward of this package, from the lists of its forward pass',
    usesK: true,
    byHead: false,
    largestBytes: gatheredBytes,
    open: ownBackward,
  },
];

export function methodNamed(pass: string, name: string): Method {
  const found = methods.find((method) => method.pass === pass && method.name === name);
  if (found === undefined) throw new Error(`no method of the ${pass} pass is called ${name}`);
  return found;
}
