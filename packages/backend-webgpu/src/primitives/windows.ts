export { type Binding as Window, windowOf } from '../runtime/binding.js';
