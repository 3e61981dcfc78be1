export { type Availability, isRequired, optional } from './optional.ts';
