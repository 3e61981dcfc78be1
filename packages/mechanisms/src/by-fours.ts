/** The next multiple of 4: kernels for GPUs read and write rows of such lengths by fours. The rest of a row is zeros. */
export const byFours = (count: number): number => 4 * Math.ceil(count / 4);
