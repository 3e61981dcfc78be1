/** Fields of the form for a run of seconds. */
export const tiny = {
  ...{ mechanism: 'top-k', k: '8', size: 'tiny', context: '32', batch: '4', rate: '0.01' },
  ...{ steps: '8', every: '4', seed: '7' },
} as const;
