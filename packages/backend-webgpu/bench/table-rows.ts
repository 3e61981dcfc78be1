/** The rows of the table, at full size or scaled down for a trial on a slow adapter. */
export interface TableSizes {
  readonly isFull: boolean;
  readonly heads: number;
  readonly dim: number;
  readonly k: number;
  /** Lengths compared row by row with the stored-score path. */
  readonly compared: readonly number[];
  readonly short: number;
  readonly long: number;
  /** One call that only has to run. */
  readonly longest: number;
  readonly feedForward: {
    readonly tokens: number;
    readonly dim: number;
    readonly hidden: number;
    readonly k: number;
  };
}

export function tableSizes(scale: number): TableSizes {
  const down = (size: number): number => Math.max(8, Math.round(size / scale));
  const isFull = scale === 1;
  return {
    isFull,
    heads: isFull ? 12 : 2,
    dim: 64,
    k: isFull ? 128 : 16,
    compared: [down(4096), down(16384)],
    short: down(16384),
    long: down(65536),
    longest: down(1048576),
    feedForward: {
      tokens: down(65536),
      dim: isFull ? 768 : 32,
      hidden: down(16384),
      k: isFull ? 512 : 8,
    },
  };
}

export interface Row {
  readonly id: string;
  readonly label: string;
  readonly unit: 'ms' | 'MiB';
}

const count = (value: number): string => value.toLocaleString('en-US');

export function tableRows({ short, long, longest, feedForward }: TableSizes): readonly Row[] {
  const { tokens, dim, hidden, k } = feedForward;
  const ms = (id: string, label: string): Row => ({ id, label, unit: 'ms' });
  return [
    ms('forward-short', `forward, L = ${count(short)}`),
    ms('forward-long', `forward, L = ${count(long)}`),
    ms('training-short', `forward + backward, L = ${count(short)}`),
    ms('training-long', `forward + backward, L = ${count(long)}`),
    ms('clustered-short', `forward, L = ${count(short)}, clustered keys`),
    ms('f16-short', `forward, f16 storage, L = ${count(short)}`),
    ms('feed-forward', `feed-forward, ${count(tokens)} tokens, d ${dim}, ff ${count(hidden)}, k ${k}`),
    { id: 'extra', label: 'extra MiB, forward, the most of all lengths', unit: 'MiB' },
    { id: 'extra-training', label: 'extra MiB, forward + backward, the most of all lengths', unit: 'MiB' },
    ms('forward-longest', `forward, L = ${count(longest)}, once`),
    ms('exact-short', `dense exact attention, same backend, L = ${count(short)}`),
    ms('exact-training-short', `dense exact attention, forward + backward, L = ${count(short)}`),
    ms('exact-long', `dense exact attention, same backend, L = ${count(long)}`),
    ms('composed-short', `composed of primitives, whole calls, L = ${count(short)}`),
  ];
}
