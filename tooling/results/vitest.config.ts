import { packageTests } from '../vitest/src/preset.ts';

export default packageTests('results', { include: ['test/*.test.mjs'] });
