import { packageTests } from '../vitest/src/preset.ts';

export default packageTests('docs');
