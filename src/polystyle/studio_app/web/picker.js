// A click on a thumbnail sends its style's name. Which are chosen is the page's to say.
const mark = () => {
  for (const button of element.querySelectorAll('.style')) {
    button.setAttribute('aria-pressed', (props.chosen || []).includes(button.dataset.name));
  }
};
element.addEventListener('click', (event) => {
  const button = event.target.closest('.style');
  if (button) trigger('pick', { name: button.dataset.name });
});
watch(['chosen', 'styles'], mark);
mark();
