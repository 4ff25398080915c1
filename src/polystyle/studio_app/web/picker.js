// A click on a thumbnail sends its style's name. Which are chosen is the page's to say.
const mark = () => {
  const list = element.querySelector('.styles');
  for (const button of element.querySelectorAll('.style')) {
    const isChosen = (props.chosen || []).includes(button.dataset.name);
    button.setAttribute('aria-pressed', isChosen);
    const top = button.offsetTop;
    const isSeen = top >= list.scrollTop && top + button.offsetHeight <= list.scrollTop + list.offsetHeight;
    if (isChosen && !isSeen) list.scrollTop = top - (list.offsetHeight - button.offsetHeight) / 2;
  }
};
element.addEventListener('click', (event) => {
  const button = event.target.closest('.style');
  if (button) trigger('pick', { name: button.dataset.name });
});
watch(['chosen', 'styles'], mark);
mark();
